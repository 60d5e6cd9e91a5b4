# What a policy of raft snapshots needs: to take one, and to say which generation of the server's keys it
# is under. Snapshots are of the root namespace. Restoring one is raft-restore.hcl.

path "sys/storage/raft/snapshot" {
  capabilities = ["read"]
}

path "sys/key-status" {
  capabilities = ["read"]
}
