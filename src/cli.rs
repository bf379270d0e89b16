//! The command line: a contract that tests and users script.
