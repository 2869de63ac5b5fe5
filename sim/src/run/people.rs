//! Who lives on a site when a run begins.

use super::{Role, Run};
use crate::client::{self, Wish};
use crate::customer;
use crate::party::Outside;
use crate::run::month::Month;

impl Run {
    /// An orchestrator, six services, two clients and an operator.
    pub(super) fn people_a_directed_site(&mut self, outside: Outside) {
        if self.world.percent(40) {
            self.month = Month::ToCome;
            self.site.send_operator_away(true);
        }
        self.add(Role::Orchestrator, None);
        for number in 0..self.site.services.len() {
            self.add(Role::Participant(number), None);
        }
        let mut rng = self.world.fork();
        let mut wishes: Vec<Wish> = (0..rng.usize(7..13)).map(|number| Wish::draw(number, &mut rng)).collect();
        for client in 0..self.clients {
            let half = wishes.split_off(if client == 0 { wishes.len() / 2 } else { 0 });
            let life = Box::pin(client::client(self.site.clone(), half));
            self.add(Role::Person, Some(life));
        }
        let life = Box::pin(client::operator(self.site.clone(), outside));
        self.add(Role::Person, Some(life));
    }

    /// Four services, an observer, two customers, and sometimes somebody impatient.
    pub(super) fn people_an_undirected_site(&mut self) {
        for number in 0..self.site.services.len() {
            self.add(Role::Participant(number), None);
        }
        self.add(Role::Observer, None);
        let mut rng = self.world.fork();
        let mut orders = customer::orders(rng.usize(6..12), &mut rng);
        for customer in 0..self.clients {
            let half = orders.split_off(if customer == 0 { orders.len() / 2 } else { 0 });
            let life = Box::pin(customer::customer(self.site.clone(), half));
            self.add(Role::Person, Some(life));
        }
        if rng.bool() {
            let life = Box::pin(customer::impatient(self.site.clone()));
            self.add(Role::Person, Some(life));
        }
    }
}
