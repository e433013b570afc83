"""Identity: policy, claims, resolutions, changes, erasure traces."""
