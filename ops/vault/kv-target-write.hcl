# A backup target for the pools that put and never remove: transfer, recover. What lies there can
# be neither written over nor removed with this token. What a put leaves that failed, the control
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
