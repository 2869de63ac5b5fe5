//! Who lives on a site when a run begins.

use super::{Role, Run};
use crate::client::{self, Wish};
use crate::customer;
use crate::neighbour;
use crate::operator;
use crate::party::Outside;
use crate::run::month::Month;
use crate::theme::Theme;

impl Run {
    /// An orchestrator or two, seven services, two clients, an operator or two, and neighbours of some services.
    pub(super) fn people_a_directed_site(&mut self, outside: Outside) {
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

    /// A process of each service; where they can share the work, two of some.
    fn add_participants(&mut self) {
        for number in 0..self.site.services.len() {
            self.add(Role::Participant(number), None);
            if self.site.hub.shares() && self.world.percent(60) {
                self.add(Role::Participant(number), None);
            }
        }
    }

    /// Where transactions share commits, there are some beside those of the services.
    fn add_neighbours(&mut self) {
        if self.site.services.iter().any(|(_, store)| store.joins()) {
            neighbour::prepare(&self.site);
            for _ in 0..2 {
                let life = Box::pin(neighbour::neighbour(self.site.clone()));
                self.add(Role::Person, Some(life));
            }
        }
    }

    /// Four services, an observer, two or three customers, and sometimes somebody impatient.
    pub(super) fn people_an_undirected_site(&mut self) {
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
