//! sagamore-sdk.
