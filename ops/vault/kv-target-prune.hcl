# A backup target for the prune workers: they read everything, remove what is marked long enough, and write the
# marks that say so (and what check rights puts). This token can neither overwrite an object nor make one of another kind.

path "strongroom/data/*" {
  capabilities = ["read"]
}

path "strongroom/data/objects/deletion/*" {
  capabilities = ["create", "read"]
}

path "strongroom/data/chunks/deletion/*" {
  capabilities = ["create", "read"]
}

path "strongroom/data/objects/probes/*" {
  capabilities = ["create", "read"]
}

path "strongroom/data/chunks/probes/*" {
  capabilities = ["create", "read"]
}

path "strongroom/metadata/*" {
  capabilities = ["list", "delete"]
}

# Only with "transit_key".
path "transit/encrypt/strongroom" {
  capabilities = ["update"]
}

path "transit/decrypt/strongroom" {
  capabilities = ["update"]
}
