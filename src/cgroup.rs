//! Control groups: v2, v1, hybrid, or none at all (rootless without delegation).
