//! The command line: one file a verb. Each parses, makes one call, and prints.
