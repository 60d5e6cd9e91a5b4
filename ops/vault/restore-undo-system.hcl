# What undoing the restore of a whole server needs beside restore-undo.hcl: it removes the policies, roles and
# KV mounts that the restore made, a mount only when nothing is left in it. Auth methods, namespaces and other
# engines stay. Who may delete mounts may delete all that they hold, so treat this as the root token that it
# is: use it once, with a second person, and revoke it.

path "sys/mounts/*"             { capabilities = ["delete"] }
path "auth/+/role/*"            { capabilities = ["delete"] }
path "auth/+/certs/*"           { capabilities = ["delete"] }
path "auth/token/roles/*"       { capabilities = ["delete"] }
path "sys/policies/acl/*"       { capabilities = ["delete"] }

path "+/sys/mounts/*"           { capabilities = ["delete"] }
path "+/auth/+/role/*"          { capabilities = ["delete"] }
path "+/auth/+/certs/*"         { capabilities = ["delete"] }
path "+/auth/token/roles/*"     { capabilities = ["delete"] }
path "+/sys/policies/acl/*"     { capabilities = ["delete"] }
