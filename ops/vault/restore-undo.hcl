# What undoing a restore needs beside restore.hcl: it removes keys that the restore made, with all
# versions. Give it for an hour, to two people, and take it away again.

path "secret/metadata/*"    { capabilities = ["delete"] }
path "kv1/*"                { capabilities = ["delete"] }
path "+/secret/metadata/*"  { capabilities = ["delete"] }
path "+/kv1/*"              { capabilities = ["delete"] }
