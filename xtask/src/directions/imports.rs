//! The paths that a source file names: its imports, and paths in its code. Code for tests does not
//! count.

/// The paths of one file.
#[derive(Debug, Default, PartialEq)]
pub struct Imports {
    pub uses: Vec<Import>,
    /// The paths outside of imports with at least two segments.
    pub paths: Vec<Vec<String>>,
}

/// One imported name.
#[derive(Debug, PartialEq)]
pub struct Import {
    pub path: Vec<String>,
    /// The name in the importing file; `*` for all names of a module.
    pub name: String,
    pub is_public: bool,
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Colons,
    Other(char),
}

impl Imports {
    /// Reads a file.
    pub fn of(text: &str) -> Imports {
        let mut reader = Reader { tokens: tokens(text), at: 0, imports: Imports::default() };
        while reader.at < reader.tokens.len() {
            reader.advance();
        }
        reader.imports
    }
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    imports: Imports,
}

impl Reader {
    fn advance(&mut self) {
        if self.is_for_tests() {
            return self.skip_item();
        }
        let is_word = matches!(self.tokens[self.at], Token::Word(_));
        if self.is("use") && !matches!(self.tokens.get(self.at + 1), Some(Token::Other('<'))) {
            let is_public = self.follows_pub();
            self.at += 1;
            self.tree(&[], is_public);
        } else if is_word && !self.continues() {
            let path = self.path();
            if path.len() > 1 {
                self.imports.paths.push(path);
            }
        } else {
            self.at += 1;
        }
    }

    /// Whether `#[cfg(test)]` begins here.
    fn is_for_tests(&self) -> bool {
        let text = |token: &Token| match token {
            Token::Word(word) => word.clone(),
            Token::Colons => "::".to_owned(),
            Token::Other(other) => other.to_string(),
        };
        let begins: String = self.tokens[self.at..].iter().take(7).map(text).collect();
        begins == "#[cfg(test)]"
    }

    /// Skips to the end of an item: its first semicolon, or the end of its block.
    fn skip_item(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token {
                Token::Other(';') if depth == 0 => return,
                Token::Other('{') => depth += 1,
                Token::Other('}') if depth <= 1 => return,
                Token::Other('}') => depth -= 1,
                Token::Word(_) | Token::Colons | Token::Other(_) => {}
            }
        }
    }

    fn is(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(found)) if found == word)
    }

    /// Whether the token continues a path that does not start with a module: `$crate::a`, `<T>::a`.
    fn continues(&self) -> bool {
        let before = self.at.checked_sub(1).map(|at| &self.tokens[at]);
        matches!(before, Some(Token::Colons | Token::Other('$')))
    }

    /// Whether `pub` or `pub(..)` precedes.
    fn follows_pub(&self) -> bool {
        let before = &self.tokens[..self.at];
        let before = match before.last() {
            Some(Token::Other(')')) => {
                let open = before.iter().rposition(|token| *token == Token::Other('('));
                &before[..open.unwrap_or(0)]
            }
            _ => before,
        };
        matches!(before.last(), Some(Token::Word(word)) if word == "pub")
    }

    /// Reads a path up to its last word.
    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.get(self.at) {
            path.push(word.clone());
            self.at += 1;
            match (self.tokens.get(self.at), self.tokens.get(self.at + 1)) {
                (Some(Token::Colons), Some(Token::Word(_))) => self.at += 1,
                _ => break,
            }
        }
        path
    }

    /// Reads an import below `parent`: a path, and a list in braces, `*` or an alias after it.
    fn tree(&mut self, parent: &[String], is_public: bool) {
        let path = [parent.to_vec(), self.path()].concat();
        if let Some(Token::Colons) = self.tokens.get(self.at) {
            self.at += 1;
        }
        match self.tokens.get(self.at) {
            Some(Token::Other('{')) => {
                self.at += 1;
                while !matches!(self.tokens.get(self.at), Some(Token::Other('}')) | None) {
                    self.tree(&path, is_public);
                    if let Some(Token::Other(',')) = self.tokens.get(self.at) {
                        self.at += 1;
                    }
                }
                self.at += 1;
            }
            Some(Token::Other('*')) => {
                self.at += 1;
                self.imports.uses.push(Import { path, name: "*".to_owned(), is_public });
            }
            _ => self.name(path, is_public),
        }
    }

    /// Adds the import of a path, with the alias that follows.
    fn name(&mut self, mut path: Vec<String>, is_public: bool) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let alias = match path.last() {
            // `path` ends at the word before `as`
            Some(last) if !self.is("as") => last.clone(),
            Some(_) => {
                self.at += 1;
                self.path().pop().unwrap_or_default()
            }
            None => {
                self.at += 1; // no path: the text is not Rust
                return;
            }
        };
        self.imports.uses.push(Import { path, name: alias, is_public });
    }
}

/// Splits a text into words, `::` and other characters, without comments, literals and blanks.
fn tokens(text: &str) -> Vec<Token> {
    let mut rest = text;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_word(first) {
            let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else if rest.starts_with("::") {
            tokens.push(Token::Colons);
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Other(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of the text or character literal that begins here. A lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let body = text.strip_prefix('b').unwrap_or(text);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let inner = raw.trim_start_matches('#');
        let end = format!("\"{}", "#".repeat(raw.len() - inner.len()));
        let inner = inner.strip_prefix('"')?;
        let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
        return Some(text.len() - inner.len() + length);
    }
    let quote = body.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let mut is_escaped = false;
    for (count, (at, letter)) in body.char_indices().skip(1).enumerate() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            letter if letter == quote => return Some(prefix + at + quote.len_utf8()),
            // a second plain character: a lifetime
            _ if quote == '\'' && count > 0 && !body.starts_with("'\\") => return None,
            _ => {}
        }
    }
    (quote == '"').then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_paths_are_read_without_comments_literals_and_tests() {
        let check = |text: &str, uses: &[(&str, &str, bool)], paths: &[&str]| {
            let read = Imports::of(text);
            let found: Vec<_> = read
                .uses
                .iter()
                .map(|import| (import.path.join("::"), import.name.as_str(), import.is_public))
                .collect();
            let uses: Vec<_> = uses
                .iter()
                .map(|(path, name, public)| (path.to_string(), *name, *public))
                .collect();
            assert_eq!(found, uses, "{text}");
            let found: Vec<_> = read.paths.iter().map(|path| path.join("::")).collect();
            assert_eq!(found, paths, "{text}");
        };
        check("use crate::a::B;", &[("crate::a::B", "B", false)], &[]);
        check(
            "pub(crate) use a::{self, b::C as D, e::*};",
            &[("a", "a", true), ("a::b::C", "D", true), ("a::e", "*", true)],
            &[],
        );
        check("fn f() -> crate::a::B { super::c::d() }", &[], &["crate::a::B", "super::c::d"]);
        check("// use crate::a;\n/* crate::b::c */ \"crate::d::e\" r#\"crate::\"f\"#", &[], &[]);
        check("fn f<'a>(x: &'a str) { a::b('\\'', '\"', b'x') }", &[], &["a::b"]);
        check("#[cfg(test)] mod tests { use super::*; } use a::b;", &[("a::b", "b", false)], &[]);
        check("#[cfg(test)] mod tests; use a::b;", &[("a::b", "b", false)], &[]);
        check("macro_rules! m { () => { $crate::a::b } }", &[], &[]);
        check("fn f() -> impl Sized + use<'static> {}", &[], &[]);
    }
}
