//! sagamore-macros.
