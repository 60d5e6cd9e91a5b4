# What the backup host needs of a transit key: to get data keys. It can open nothing.

path "transit/datakey/plaintext/strongroom" {
  capabilities = ["update"]
}

# What is wrong with a key that gives none; which version is the newest, and which the oldest that still opens
path "transit/keys/strongroom" {
  capabilities = ["read"]
}
