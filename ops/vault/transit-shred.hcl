# What shredding needs of a transit key of an erasable policy, besides transit-open.hcl: a next version, and
# to trim the old ones. Anyone who has it can make every backup under the key unreadable, so give it to the
# person or host that shreds, and to nobody else.

path "transit/keys/strongroom" {
  capabilities = ["read"]
}

path "transit/keys/strongroom/rotate" {
  capabilities = ["update"]
}

# These two alone: others would let the key be exported or deleted.
path "transit/keys/strongroom/config" {
  capabilities = ["update"]
  allowed_parameters = {
    "min_decryption_version" = []
    "min_encryption_version" = []
  }
}

path "transit/keys/strongroom/trim" {
  capabilities = ["update"]
}
