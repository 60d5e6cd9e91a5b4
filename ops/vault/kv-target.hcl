# A backup target in the KV version 2 mount "strongroom": put, read, list, remove.
#
# There is no "update" on data: what lies there cannot be overwritten with this token, only
# removed, and then it is missed. Where backups must outlive this token's thief, take "delete"
# away: retention and sweeps then need another token.

path "strongroom/data/*" {
  capabilities = ["create", "read"]
}

path "strongroom/metadata/*" {
  capabilities = ["list", "delete"]
}

# Only with "transit": a second lock on each chunk. No "create", which would make a missing key.
path "transit/encrypt/strongroom" {
  capabilities = ["update"]
}

path "transit/decrypt/strongroom" {
  capabilities = ["update"]
}
