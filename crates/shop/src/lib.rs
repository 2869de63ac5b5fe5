//! sagamore-shop.
