# A backup target in the KV version 2 mount "strongroom", for those who put and remove objects: the control
# pool, or a person's own command line. The pools that never remove have policies of their own:
# kv-target-write.hcl (transfer, recover), kv-target-prune.hcl (prune) and kv-target-read.hcl (verify, drill).
#
# There is no "update" on data: this token cannot overwrite the objects there.

path "strongroom/data/*" {
  capabilities = ["create", "read"]
}

path "strongroom/metadata/*" {
  capabilities = ["list", "delete"]
}

# Only with "transit_key": a second lock on each chunk. No "create", which would make a missing key.
path "transit/encrypt/strongroom" {
  capabilities = ["update"]
}

path "transit/decrypt/strongroom" {
  capabilities = ["update"]
}
