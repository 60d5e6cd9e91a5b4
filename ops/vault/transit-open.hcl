# What opening backups needs of a transit key: verification, drills, restore. Give it to the hosts that do
# that, never to the one that makes the backups.

path "transit/decrypt/strongroom" {
  capabilities = ["update"]
}

path "transit/keys/strongroom" {
  capabilities = ["read"]
}
