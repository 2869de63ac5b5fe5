//! sagamore-engine.
