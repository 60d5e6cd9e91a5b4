# A backup target for the pools that only read: verify, drill.

path "strongroom/data/*" {
  capabilities = ["read"]
}

path "strongroom/metadata/*" {
  capabilities = ["list"]
}

# Only with "transit_key".
path "transit/decrypt/strongroom" {
  capabilities = ["update"]
}
