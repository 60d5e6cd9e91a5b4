# A backup target for the pools that put and never remove: transfer, recover. This token can
# neither overwrite nor remove the objects there. What a put leaves that failed, the control
# pool sweeps.

path "strongroom/data/*" {
  capabilities = ["create", "read"]
}

path "strongroom/metadata/*" {
  capabilities = ["list"]
}

# Only with "transit_key".
path "transit/encrypt/strongroom" {
  capabilities = ["update"]
}

path "transit/decrypt/strongroom" {
  capabilities = ["update"]
}
