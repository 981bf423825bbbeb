"""The services in a box, for tests and trying out: dialects, tasks, faults and drawings. The package never imports it unless asked."""
