//! Import cycles between the files of a crate.
//!
//! A file depends on the file that declares a name, however many re-exports lie between. If a
//! module re-exports its own submodules by `pub use`, that is its public face and no dependency.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sagamore_e2e::workspace::Source;

use super::imports::Imports;

/// A module that may form cycles with its submodules.
struct Exception {
    package: &'static str,
    module: &'static str,
}

/// The exceptions, at most two. ARCHITECTURE.md has the reason of each.
const EXCEPTIONS: &[Exception] = &[Exception { package: "crates/gateway", module: "gateway" }];

const _: () = assert!(EXCEPTIONS.len() <= 2);

/// The segments of a module's path; empty for the root of the crate.
type ModulePath = Vec<String>;

/// The files of one crate.
#[derive(Default)]
struct Crate(BTreeMap<ModulePath, Imports>);

/// Returns a line for each cycle that is not an exception, and for each exception without a cycle.
pub fn offences(sources: &[Source]) -> Vec<String> {
    offences_besides(sources, EXCEPTIONS)
}

fn offences_besides(sources: &[Source], exceptions: &[Exception]) -> Vec<String> {
    let (mut found, mut used) = (Vec::new(), BTreeSet::new());
    for (package, files) in crates(sources) {
        let graph = files.graph();
        for cycle in cycles(&graph) {
            match exceptions.iter().position(|exception| exception.covers(&package, &cycle)) {
                Some(exception) => drop(used.insert(exception)),
                None => found.push(describe(&package, &graph, &cycle)),
            }
        }
    }
    let unused = exceptions.iter().enumerate().filter(|(index, _)| !used.contains(index));
    found.extend(unused.map(|(_, Exception { package, module })| {
        format!("{package}: {module} has no cycle: remove it from xtask/src/directions/cycles.rs")
    }));
    found
}

impl Exception {
    fn covers(&self, package: &str, cycle: &BTreeSet<ModulePath>) -> bool {
        let is_below = |module: &ModulePath| {
            let path = shown(module);
            path == self.module || path.starts_with(&format!("{}::", self.module))
        };
        package == self.package && cycle.iter().all(is_below)
    }
}

/// Groups the files below `src` by crate.
fn crates(sources: &[Source]) -> BTreeMap<String, Crate> {
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for source in sources {
        let Some((package, file)) = source.path.split_once("/src/") else { continue };
        let Some(module) = file.strip_suffix(".rs") else { continue };
        let mut module: ModulePath = module.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        let Imports { uses, paths } = Imports::of(&source.text);
        let files = crates.entry(package.to_owned()).or_default();
        // lib.rs and main.rs are one module here
        let merged = files.0.entry(module).or_default();
        merged.uses.extend(uses);
        merged.paths.extend(paths);
    }
    crates
}

impl Crate {
    /// Returns the modules that each module depends on.
    fn graph(&self) -> BTreeMap<&ModulePath, BTreeSet<ModulePath>> {
        self.0.iter().map(|(module, imports)| (module, self.targets(module, imports))).collect()
    }

    fn targets(&self, module: &ModulePath, imports: &Imports) -> BTreeSet<ModulePath> {
        let of_uses = imports.uses.iter().filter_map(|import| {
            let target = self.target(module, &import.path, false)?;
            let is_front = import.is_public && is_below(&target, module);
            (!is_front).then_some(target)
        });
        let of_paths = imports.paths.iter().filter_map(|path| self.target(module, path, true));
        of_uses.chain(of_paths).filter(|target| target != module).collect()
    }

    /// Returns the module that declares the item at this path of `module`; `None` for another
    /// crate.
    fn target(&self, module: &[String], path: &[String], in_code: bool) -> Option<ModulePath> {
        if let Some((start, rest)) = self.start(module, path) {
            return Some(self.resolve(start, rest, 0));
        }
        // code may begin a path with a name that the file imports
        let target = in_code.then(|| self.resolve(module.to_vec(), path, 0))?;
        (target != module).then_some(target)
    }

    /// Returns the module at which a path begins, and the rest of the path.
    fn start<'a>(
        &self,
        module: &[String],
        path: &'a [String],
    ) -> Option<(ModulePath, &'a [String])> {
        match path.first()?.as_str() {
            "crate" => Some((Vec::new(), &path[1..])),
            "self" => Some((module.to_vec(), &path[1..])),
            "super" => {
                let ups = path.iter().take_while(|segment| *segment == "super").count();
                Some((module[..module.len().saturating_sub(ups)].to_vec(), &path[ups..]))
            }
            first => self.0.contains_key(&below(module, first)).then(|| (module.to_vec(), path)),
        }
    }

    /// Follows a path from a module through submodules and imports.
    fn resolve(&self, mut module: ModulePath, path: &[String], depth: usize) -> ModulePath {
        for (index, segment) in path.iter().enumerate() {
            let child = below(&module, segment);
            if self.0.contains_key(&child) {
                module = child;
                continue;
            }
            let imports = self.0.get(&module).map_or(&[][..], |imports| &imports.uses);
            let import = imports.iter().find(|import| import.name == *segment);
            let import = import.filter(|_| depth < DEPTH_MAX);
            let start = import.and_then(|import| self.start(&module, &import.path));
            let Some((start, rest)) = start else { break };
            return self.resolve(start, &[rest, &path[index + 1..]].concat(), depth + 1);
        }
        module
    }
}

/// Maximum re-exports that are followed for one name.
const DEPTH_MAX: usize = 20;

fn below(module: &[String], name: &str) -> ModulePath {
    [module, &[name.to_owned()]].concat()
}

fn is_below(module: &[String], parent: &[String]) -> bool {
    module.len() > parent.len() && module.starts_with(parent)
}

/// Returns the sets of modules that all depend on each other, directly or not.
fn cycles(graph: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>) -> Vec<BTreeSet<ModulePath>> {
    let reached: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
        graph.keys().map(|module| (*module, reachable(graph, module))).collect();
    let mut cycles: Vec<BTreeSet<ModulePath>> = Vec::new();
    for (module, others) in &reached {
        if !others.contains(module) || cycles.iter().any(|cycle| cycle.contains(*module)) {
            continue;
        }
        let is_mutual = |other: &&&ModulePath| reached[**other].contains(module);
        cycles.push(others.iter().filter(is_mutual).map(|other| (*other).clone()).collect());
    }
    cycles
}

fn reachable<'a>(
    graph: &'a BTreeMap<&'a ModulePath, BTreeSet<ModulePath>>,
    from: &ModulePath,
) -> BTreeSet<&'a ModulePath> {
    let mut reached = BTreeSet::new();
    let mut rest: Vec<&ModulePath> = graph[from].iter().collect();
    while let Some(module) = rest.pop() {
        if reached.insert(module) {
            rest.extend(graph.get(module).into_iter().flatten());
        }
    }
    reached
}

/// Describes a cycle by the shortest way from its first module back to it.
fn describe(
    package: &str,
    graph: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>,
    cycle: &BTreeSet<ModulePath>,
) -> String {
    let first = cycle.first().expect("a cycle has modules");
    let mut ways = VecDeque::from([vec![first]]);
    let mut met = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in graph[way[way.len() - 1]].iter().filter(|next| cycle.contains(*next)) {
            if next == first {
                let way = way.into_iter().chain([first]).map(shown).collect::<Vec<_>>();
                let (way, count) = (way.join(" -> "), cycle.len());
                return format!(
                    "{package}: import cycle of {count} files: {way}: move what they share into \
                     a file below"
                );
            }
            if met.insert(next) {
                ways.push_back([way.clone(), vec![next]].concat());
            }
        }
    }
    format!("{package}: import cycle of {} files", cycle.len())
}

fn shown(module: &ModulePath) -> String {
    if module.is_empty() { "crate".to_owned() } else { module.join("::") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)], exceptions: &[Exception]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source {
            path: format!("crates/toy/src/{path}.rs"),
            text: (*text).to_owned(),
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        offences_besides(&sources, exceptions)
    }

    #[test]
    fn files_that_import_each_other_are_reported_with_the_way_between_them() {
        let check = |files: &[(&str, &str)], way: &str| {
            let found = found(files, &[]);
            let expected = if way.is_empty() { Vec::new() } else { vec![way] };
            let ways = found.iter().map(|line| line.split(": ").nth(2).unwrap_or_default());
            assert_eq!(ways.collect::<Vec<_>>(), expected, "{files:?}");
        };
        check(&[("a", "use crate::b::B;"), ("b", "use crate::a::A;")], "a -> b -> a");
        check(&[("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "")], "");
        check(
            &[
                ("a", "use crate::b::B;"),
                ("b", "fn f() -> crate::c::C {}"),
                ("c", "use super::a::A;"),
            ],
            "a -> b -> c -> a",
        );
        check(&[("a", "mod b; use b::B;"), ("a/b", "use super::A;")], "a -> a::b -> a");
        check(&[("a", "mod b; fn f() { b::f() }"), ("a/b", "use super::A;")], "a -> a::b -> a");
        // a public face is not a dependency
        check(&[("a", "mod b; pub use b::B;"), ("a/b", "use super::A;")], "");
        // a name counts where it is declared
        check(
            &[
                ("a", "mod b; mod c; pub use b::B; pub use c::C;"),
                ("a/b", "use super::C;"),
                ("a/c", "use crate::a::B;"),
            ],
            "a::b -> a::c -> a::b",
        );
        check(&[("a", "mod b; mod c; pub use b::B;"), ("a/b", ""), ("a/c", "use super::B;")], "");
        check(
            &[("lib", "mod a; use a::A; struct B;"), ("a", "use crate::B;")],
            "crate -> a -> crate",
        );
        check(
            &[("a", "#[cfg(test)] mod tests { use crate::b::B; }"), ("b", "use crate::a::A;")],
            "",
        );
    }

    #[test]
    fn an_exception_covers_a_module_with_its_submodules_while_they_form_a_cycle() {
        let toy = |module| Exception { package: "crates/toy", module };
        let cycle = [("a", "mod b; use b::B;"), ("a/b", "use super::A;")];
        assert_eq!(found(&cycle, &[toy("a")]), Vec::<String>::new());
        assert_eq!(found(&cycle, &[toy("a::b")]).len(), 2);
        let unused = found(&[("a", "")], &[toy("a")]);
        assert_eq!(
            unused,
            ["crates/toy: a has no cycle: remove it from xtask/src/directions/cycles.rs"]
        );
    }
}
