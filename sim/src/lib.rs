//! sagamore-sim.
