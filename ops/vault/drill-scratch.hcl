# For drills that restore into a mount of their own on a live server: docs/how-to/rehearse-a-recovery.md.
# They make it, fill it, read it and remove it, and may touch no other mount.

# To see whether a mount is there, and whose it is.
path "sys/mounts"                    { capabilities = ["read"] }
path "sys/mounts/strongroom-drill-*" { capabilities = ["update", "delete"] }
path "strongroom-drill-*"            { capabilities = ["create", "read", "update", "list"] }
