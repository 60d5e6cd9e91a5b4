# What the backup host needs of a transit key: to get data keys and to seal. It can open nothing.
# There is no "create" on encrypt, which would make a missing key: a typo would seal under a new one.

path "transit/datakey/plaintext/strongroom" {
  capabilities = ["update"]
}

path "transit/encrypt/strongroom" {
  capabilities = ["update"]
}

# Which version is the newest, and which the oldest that still opens
path "transit/keys/strongroom" {
  capabilities = ["read"]
}
