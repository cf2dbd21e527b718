"""Configuration and lake in, bundle out."""

import os

# Read once, when torch is loaded: threads that wait give way instead of spinning. On a machine with other work two
# spinning threads made an epoch ten times slower; alone there is no difference. No result depends on it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
