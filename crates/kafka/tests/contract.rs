//! Kafka against the contract of the port.

mod common;

sagamore_transport::contract_suite!(if there common::fresh);
