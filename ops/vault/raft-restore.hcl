# Break glass: replace everything in the server by a snapshot. No machine should hold such a token;
# make it when it is needed, after a second factor, and revoke it after that.

path "sys/storage/raft/snapshot" {
  capabilities = ["read", "update"]
}

# Of another cluster, or from before the server's keys were replaced.
path "sys/storage/raft/snapshot-force" {
  capabilities = ["update"]
}

path "sys/key-status" {
  capabilities = ["read"]
}
