//! The processes and persons of a run at its start.

use super::{Role, Run};
use crate::client::{self, Wish};
use crate::customer;
use crate::neighbour;
use crate::operator;
use crate::party::Outside;
use crate::run::phase::Month;
use crate::theme::Theme;

impl Run {
    /// Adds one or two orchestrators, seven services, two clients, one or two operators, and other
    /// transactions of some services.
    pub(super) fn populate_orchestrated(&mut self, outside: Outside) {
        let theme = self.world.theme;
        if theme == Theme::Retention || theme == Theme::General && self.world.percent(20) {
            self.month = Month::ToCome;
            self.site.send_operator_away(true);
        }
        self.add(Role::Orchestrator, None);
        if self.site.shares_partitions() && (theme == Theme::Leases || self.world.percent(60)) {
            self.add(Role::Orchestrator, None);
        }
        self.add_participants();
        let mut rng = self.world.fork();
        let count = rng.usize(if theme == Theme::Verbs { 10..16 } else { 7..13 });
        let mut wishes: Vec<Wish> =
            (0..count).map(|number| Wish::draw(number, theme, &mut rng)).collect();
        for client in 0..self.clients {
            let half = wishes.split_off(if client == 0 { wishes.len() / 2 } else { 0 });
            let life = Box::pin(client::client(self.site.clone(), half));
            self.add(Role::Person, Some(life));
        }
        for number in 0..if theme == Theme::Verbs || self.world.percent(50) { 2 } else { 1 } {
            let life = Box::pin(operator::operator(self.site.clone(), outside.clone(), number));
            self.add(Role::Person, Some(life));
        }
        self.add_neighbours();
    }

    /// Adds a process of each service, and a second one of some services if processes can share the
    /// work.
    fn add_participants(&mut self) {
        for number in 0..self.site.services.len() + self.site.outsiders.len() {
            self.add(Role::Participant(number), None);
            if self.site.hub.shares() && self.world.percent(60) {
                self.add(Role::Participant(number), None);
            }
        }
    }

    /// Adds other transactions if transactions share commits.
    fn add_neighbours(&mut self) {
        if self.site.services.iter().any(|(_, store)| store.joins()) {
            neighbour::prepare(&self.site);
            for _ in 0..2 {
                let life = Box::pin(neighbour::neighbour(self.site.clone()));
                self.add(Role::Person, Some(life));
            }
        }
    }

    /// Adds four services, an observer, two or three customers, and sometimes an impatient one.
    pub(super) fn populate_choreographed(&mut self) {
        self.add_participants();
        self.add(Role::Observer, None);
        if self.site.hub.shares() && self.world.percent(50) {
            self.add(Role::Observer, None);
        }
        let mut rng = self.world.fork();
        let count = if self.world.theme == Theme::Outbox { 10..16 } else { 6..12 };
        let mut orders = customer::orders(rng.usize(count), &mut rng);
        if self.world.theme == Theme::Outbox {
            self.clients = 3;
        }
        for left in (1..=self.clients).rev() {
            let share = orders.split_off(orders.len() - orders.len() / left);
            let life = Box::pin(customer::customer(self.site.clone(), share));
            self.add(Role::Person, Some(life));
        }
        if rng.bool() {
            let life = Box::pin(customer::impatient(self.site.clone()));
            self.add(Role::Person, Some(life));
        }
        self.add_neighbours();
    }
}
