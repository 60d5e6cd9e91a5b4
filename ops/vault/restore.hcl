# What a restore of KV secrets needs beside backup-read.hcl. Nobody has it on an ordinary day.
#
# Give it to the role of the queue 'recover' only, which normally is stopped; with a short life of the
# token (token_ttl = 1h), and behind a second person or factor:
#   - Vault Enterprise: add to each path below
#       control_group = { factor "two" { identity { group_names = ["security"] approvals = 1 } } }
#     or  mfa_methods  = ["totp"]
#   - OpenBao and Vault's free edition know neither in a policy. There, enforce MFA at the login
#     (sys/mfa or identity/mfa: login enforcement on the auth method of the recovery role), and issue
#     the role's secret id response-wrapped, for one use:  secret_id_num_uses = 1
#
# It writes with check-and-set. It cannot delete: see restore-undo.hcl.

path "secret/data/*"        { capabilities = ["create", "update"] }
path "secret/metadata/*"    { capabilities = ["create", "update"] }
path "secret/delete/*"      { capabilities = ["update"] }
path "secret/destroy/*"     { capabilities = ["update"] }
path "kv1/*"                { capabilities = ["create", "update"] }

path "+/secret/data/*"      { capabilities = ["create", "update"] }
path "+/secret/metadata/*"  { capabilities = ["create", "update"] }
path "+/secret/delete/*"    { capabilities = ["update"] }
path "+/secret/destroy/*"   { capabilities = ["update"] }
path "+/kv1/*"              { capabilities = ["create", "update"] }
