"""Keys that never leave an HSM, through PKCS#11.

Sealing for an HSM's EC key (:mod:`strongroom.keys.ec`) needs its public half alone, and none
of this. The modules here name ``pkcs11`` inside functions only: the library is loaded in the
process that uses it and on first use, never before a fork.
"""
