//! Handlers that would run what a stranger sends: a shell that reads its script from stdin.
//!
//! ```text
//! query:x=/bin/sh      bash -s     exec sh -      cat | sh     sh -c "$(cat)"     xargs sh -c     refused
//! query:x=./x.sh       sh x.sh     sh -c 'uptime'     sh < x.sh                                   fine
//! ```
//!
//! Stdin carries payloads and the names of members, and in clear gossip anyone can send those. This finds the plain
//! accident, as a copied example; it is no proof that a script does not run its input.

/// Shells: without a script they take one from stdin, and with `-s` in any case.
const SHELLS: &[&str] = &[
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "pdksh", "fish", "csh", "tcsh", "rc", "pwsh",
];

/// Others that take a script from stdin when they are given none.
const INTERPRETERS: &[&str] = &["python", "perl", "ruby", "node", "php", "lua", "tclsh", "R"];

/// Programs that run another one, which is a later word of theirs.
const WRAPPERS: &[&str] = &[
    "exec", "env", "sudo", "doas", "nohup", "nice", "ionice", "timeout", "time", "command",
    "builtin", "stdbuf", "setsid", "chroot", "busybox", "toybox", "chrt", "taskset", "flock",
    "unshare", "nsenter", "ssh", "su", "runuser", "!", "{", "(", "if", "then", "else", "elif",
    "while", "until", "do",
];

/// Words that read everything there is on stdin.
const SLURPS: &[&str] = &[
    "$(cat",
    "`cat",
    "$(</dev/stdin",
    "$(< /dev/stdin",
    "<(cat",
    "$(tee",
    "$(head",
    "$(read",
];

/// What of `script` runs what comes on stdin, if anything seems to.
pub fn runs_its_input(script: &str) -> Option<String> {
    commands(script)
        .into_iter()
        .find(|words| is_open(words))
        .map(|words| words.join(" "))
}

/// Whether one simple command runs its input.
fn is_open(words: &[String]) -> bool {
    let slurps = |word: &String| SLURPS.iter().any(|slurp| word.contains(slurp));
    let mut rest = words;
    loop {
        while rest.first().is_some_and(|word| is_assignment(word)) {
            rest = &rest[1..];
        }
        let Some((first, more)) = rest.split_first() else {
            return false;
        };
        let program = first.rsplit('/').next().unwrap_or_default();
        match program {
            "eval" => return more.iter().any(slurps),
            "source" | "." => return more.first().is_some_and(|file| is_stdin(file)),
            // What it reads become words of a command.
            "xargs" | "parallel" => return true,
            _ if is_interpreter(program) => {
                let shell = SHELLS.contains(&program);
                return takes_stdin(more, shell) || more.iter().any(slurps);
            }
            _ if WRAPPERS.contains(&program) => {
                // Which of its words is the program, only each of them knows: any interpreter behind it will do.
                let inner = more.iter().position(|word| {
                    let name = word.rsplit('/').next().unwrap_or_default();
                    is_interpreter(name) || ["eval", "xargs", "source"].contains(&name)
                });
                match inner {
                    Some(at) => rest = &more[at..],
                    None => return false,
                }
            }
            _ => return false,
        }
    }
}

/// Also with a version: `python3.11`, `lua5.4`.
fn is_interpreter(program: &str) -> bool {
    let bare = program.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    SHELLS.contains(&program) || INTERPRETERS.contains(&bare)
}

/// Whether an interpreter with these arguments reads its script from stdin.
fn takes_stdin(arguments: &[String], shell: bool) -> bool {
    let mut arguments = arguments.iter();
    let mut open = true;
    while let Some(argument) = arguments.next() {
        if argument == "-" || is_stdin(argument) {
            return true;
        }
        if let Some((descriptor, sign, file)) = redirection(argument) {
            let file = match file {
                "" => arguments.next().map_or("", String::as_str),
                file => file,
            };
            // A file, a here-document: its input is no stranger's any more.
            if sign == '<' && ["", "0"].contains(&descriptor) {
                open = is_stdin(file);
            }
            continue;
        }
        let Some(option) = argument.strip_prefix(['-', '+']) else {
            // The script's file.
            return false;
        };
        match option.strip_prefix('-') {
            Some(long) if long.starts_with("command") || long.starts_with("eval") => return false,
            Some(_) => {}
            None if shell && option.contains('c') => return false,
            None if shell && option.contains('s') => return true,
            None if shell && option.eq_ignore_ascii_case("o") => {
                arguments.next();
            }
            None if !shell && option.contains(['c', 'e', 'E', 'm', 'r']) => return false,
            None => {}
        }
    }
    open
}

/// `2>&1` is descriptor 2, sign `>`, file `&1`; `<<EOF` is a file named `<EOF`, which nobody has.
fn redirection(word: &str) -> Option<(&str, char, &str)> {
    let at = word.find(['<', '>'])?;
    let (descriptor, rest) = word.split_at(at);
    let only = descriptor == "&" || descriptor.bytes().all(|byte| byte.is_ascii_digit());
    let sign = rest.chars().next()?;
    only.then(|| (descriptor, sign, &rest[1..]))
}

fn is_stdin(file: &str) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].contains(&file)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// The simple commands of a script, each as its words without their quotes. Substitutions stay in the word they are in.
fn commands(script: &str) -> Vec<Vec<String>> {
    let mut found = Commands::default();
    let mut letters = script.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => found.word().extend(letters.next()),
            '\'' | '"' => {
                let inner = letters.by_ref().take_while(|inner| *inner != letter);
                found.word().extend(inner);
            }
            '$' if letters.peek() == Some(&'(') => {
                found.word().push('$');
                found.word().push_str(&substitution(&mut letters));
            }
            '(' if found.redirects() => {
                let text = substitution(&mut std::iter::once(letter).chain(letters.by_ref()));
                found.word().push_str(&text);
            }
            '#' if found.word.is_none() => while letters.next().is_some_and(|next| next != '\n') {},
            // `2>&1` and `&>FILE` end nothing.
            '&' if found.redirects() || letters.peek() == Some(&'>') => found.word().push(letter),
            ';' | '|' | '&' | '\n' | '(' | ')' => found.end_command(),
            _ if letter.is_whitespace() => found.end_word(),
            _ => found.word().push(letter),
        }
    }
    found.end_command();
    found.all
}

/// `(…)` with what is nested in it.
fn substitution(letters: &mut impl Iterator<Item = char>) -> String {
    let mut depth = 0;
    let mut text = String::new();
    for letter in letters {
        text.push(letter);
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        if depth == 0 {
            break;
        }
    }
    text
}

#[derive(Default)]
struct Commands {
    all: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
}

impl Commands {
    fn word(&mut self) -> &mut String {
        self.word.get_or_insert_default()
    }

    fn redirects(&self) -> bool {
        let word = self.word.as_deref().unwrap_or_default();
        word.ends_with(['<', '>'])
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.all.push(std::mem::take(&mut self.words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_without_a_script_runs_its_input() {
        for script in [
            "/bin/bash",
            "sh",
            "  /bin/sh  ",
            "bash -s",
            "bash -s -- --flag",
            "bash -ex",
            "bash -o pipefail",
            "bash --login",
            "sh -",
            "sh /dev/stdin",
            "sh < /dev/stdin",
            "sh 2>&1",
            "sh 2>/dev/null",
            "sh &> /tmp/out",
            "exec sh",
            "exec /bin/sh -s",
            "env -i PATH=/bin sh",
            "sudo -u deploy bash",
            "LANG=C sh",
            "nice -n 5 bash",
            "busybox sh",
            "timeout 5 sh",
            "cat | sh",
            "tee /var/log/x | bash",
            "date; sh",
            "true && sh",
            "( sh )",
            "(sh)",
            "{ sh; }",
            "if true; then sh; fi",
            "sh -c \"$(cat)\"",
            "bash -c \"`cat`\"",
            "eval \"$(cat)\"",
            ". /dev/stdin",
            "source /dev/stdin",
            "xargs sh -c",
            "bash <(cat)",
            "f() { sh; }; f",
            "'/bin/sh'",
            "python3",
            "python3.11 -u",
            "perl",
            "ruby -",
            "ssh other sh",
        ] {
            assert!(runs_its_input(script).is_some(), "{script:?}");
        }
    }

    #[test]
    fn a_script_that_is_given_is_run_instead() {
        for script in [
            "./deploy.sh",
            "sh deploy.sh",
            "bash -eu deploy.sh",
            "bash -- deploy.sh",
            "sh -c 'uptime'",
            "bash -lc uptime",
            "bash -o pipefail -c uptime",
            "sh < deploy.sh",
            "sh <deploy.sh",
            "sh <<EOF\nuptime\nEOF",
            "sudo systemctl reload nginx",
            "env | sort",
            "cat",
            "cat > /tmp/sh",
            "uptime 2>&1",
            "logger -t serf",
            "while read name address role tags; do echo $name; done",
            "python3 handler.py",
            "python3 -c 'print(1)'",
            "perl -ne 'print'",
            "/opt/bash/handler",
            "echo sh",
            "grep sh",
            "# sh",
            "VAR=sh ./x",
            "",
        ] {
            assert_eq!(runs_its_input(script), None, "{script:?}");
        }
    }

    #[test]
    fn any_text_is_read() {
        for script in [
            "'", "\"sh", "$(", "$((", "\\", "`", "<", ">", "2>", "sh <", "|||", "&",
        ] {
            let _ = runs_its_input(script);
        }
    }
}
