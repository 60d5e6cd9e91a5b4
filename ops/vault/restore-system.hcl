# What bringing back a whole server needs beside restore.hcl: namespaces, mounts, auth methods, policies and
# roles. Who may write policies may do everything, so treat this as the root token that it is:
# use it once, on the day, with a second person, and revoke it.

path "sys/namespaces/*"         { capabilities = ["create", "update"] }
path "sys/mounts/*"             { capabilities = ["create", "update"] }
path "secret/config"            { capabilities = ["create", "update"] }
path "sys/auth/*"               { capabilities = ["create", "update", "sudo"] }
path "auth/+/config"            { capabilities = ["create", "update"] }
path "auth/+/role/*"            { capabilities = ["create", "update"] }
path "auth/+/certs/*"           { capabilities = ["create", "update"] }
path "auth/token/roles/*"       { capabilities = ["create", "update"] }
path "sys/policies/acl/*"       { capabilities = ["create", "update"] }

path "+/sys/namespaces/*"       { capabilities = ["create", "update"] }
path "+/sys/mounts/*"           { capabilities = ["create", "update"] }
path "+/secret/config"          { capabilities = ["create", "update"] }
path "+/sys/auth/*"             { capabilities = ["create", "update", "sudo"] }
path "+/auth/+/config"          { capabilities = ["create", "update"] }
path "+/auth/+/role/*"          { capabilities = ["create", "update"] }
path "+/auth/+/certs/*"         { capabilities = ["create", "update"] }
path "+/auth/token/roles/*"     { capabilities = ["create", "update"] }
path "+/sys/policies/acl/*"     { capabilities = ["create", "update"] }
