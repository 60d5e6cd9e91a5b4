# What the login of a Vault source needs, and nothing more: it reads and lists, and changes nothing.
#
# Mounts are named: 'secret/' stands for a mount of KV version 2, 'kv1/' for one of version 1. Write the
# lines again for each mount that you have. '+/' stands for one namespace; write '+/+/' for one within
# another. A path to list ends with a slash. The policy 'default' has to stay: with it a token looks itself
# up, renews itself and asks what it may do.

# Which namespaces and mounts there are
path "sys/namespaces/"           { capabilities = ["list"] }
path "sys/namespaces/*"          { capabilities = ["read"] }
path "sys/mounts"                { capabilities = ["read"] }

# KV version 2: settings, names, metadata, data. Only OpenBao knows 'detailed-metadata'.
path "secret/config"             { capabilities = ["read"] }
path "secret/metadata/*"         { capabilities = ["read", "list"] }
path "secret/detailed-metadata/*" { capabilities = ["list"] }
path "secret/data/*"             { capabilities = ["read"] }

# KV version 1
path "kv1/*"                     { capabilities = ["read", "list"] }

# Policies, auth methods and roles. Leave this out with 'system = false' in the source.
path "sys/policies/acl/"         { capabilities = ["list"] }
path "sys/policies/acl/*"        { capabilities = ["read"] }
path "sys/auth"                  { capabilities = ["read"] }
path "auth/+/config"             { capabilities = ["read"] }
path "auth/+/role/"              { capabilities = ["list"] }
# Reading a role of AppRole includes its role id. The other half of a login, the secret id, cannot be read.
path "auth/+/role/*"             { capabilities = ["read"] }
path "auth/+/certs/"             { capabilities = ["list"] }
path "auth/+/certs/*"            { capabilities = ["read"] }
path "auth/token/roles/"         { capabilities = ["list"] }
path "auth/token/roles/*"        { capabilities = ["read"] }
# With an LDAP method (not shown: the server that the tests run has none):
#   auth/ldap/groups and auth/ldap/users: list; auth/ldap/groups/* and auth/ldap/users/*: read

# The same in namespaces
path "+/sys/namespaces/"         { capabilities = ["list"] }
path "+/sys/namespaces/*"        { capabilities = ["read"] }
path "+/sys/mounts"              { capabilities = ["read"] }
path "+/secret/config"           { capabilities = ["read"] }
path "+/secret/metadata/*"       { capabilities = ["read", "list"] }
path "+/secret/detailed-metadata/*" { capabilities = ["list"] }
path "+/secret/data/*"           { capabilities = ["read"] }
path "+/kv1/*"                   { capabilities = ["read", "list"] }
path "+/sys/policies/acl/"       { capabilities = ["list"] }
path "+/sys/policies/acl/*"      { capabilities = ["read"] }
path "+/sys/auth"                { capabilities = ["read"] }
path "+/auth/+/config"           { capabilities = ["read"] }
path "+/auth/+/role/"            { capabilities = ["list"] }
path "+/auth/+/role/*"           { capabilities = ["read"] }
path "+/auth/+/certs/"           { capabilities = ["list"] }
path "+/auth/+/certs/*"          { capabilities = ["read"] }
path "+/auth/token/roles/"       { capabilities = ["list"] }
path "+/auth/token/roles/*"      { capabilities = ["read"] }
