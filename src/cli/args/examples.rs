//! Guides and examples that `--help` and the man pages show for each command.
//!
//! Tests parse every example, and require a guide for every command.

/// What is said of one command.
pub struct Guide {
    /// The words behind `pipeline` that call it; none for the program itself.
    pub command: &'static str,
    /// Paragraphs behind the sentence that stands in the list of commands, with an empty line between them.
    pub about: &'static str,
    /// Two to four.
    pub examples: &'static [Example],
}

/// A line for a shell.
pub struct Example {
    /// The line, short enough for 80 columns.
    pub line: &'static str,
    /// What it does.
    pub does: &'static str,
}

/// A guide for each command, in the order of the list of commands.
pub static GUIDES: [Guide; 14] = [
    Guide {
        command: "",
        about: "What is written are standard formats: zstd frames with a seek table, an age file around them where somebody is given to \
                encrypt to. `zstd -d` and `age -d` read it, and whatever they write can be brought back.\n\n\
                `-` as IN or OUT is standard input or output. Data goes to standard output and nothing else; every word goes to standard \
                error. A file that exists is overwritten only with --force, and gets its name when it is complete and on the disk.\n\n\
                A directory as IN is a tree, and OUT the directory that mirrors it; process, restore, verify and rekey take trees.\n\n\
                A flag counts before the environment (PIPELINE_WORKERS and others), that before a profile, that before the configuration \
                file; `pipeline config show` tells what is in force.",
        examples: &[
            Example { line: "pipeline process big.tar", does: "big.tar.zst beside it, on all cores" },
            Example { line: "pipeline restore big.tar.zst", does: "big.tar back; any zstd file will do" },
            Example { line: "pipeline process big.tar -R recipients.txt", does: "big.tar.zst.age: zstd inside age" },
            Example {
                line: "pipeline cat big.tar.zst --range 10G..+4K",
                does: "4 KiB from the middle; one frame is decoded",
            },
        ],
    },
    Guide {
        command: "process",
        about: "A chunk of IN becomes a zstd frame, and behind the last frame stands a seek table, so that a range can be read from the \
                middle. The same input and settings give the same bytes on any number of cores.\n\n\
                With a recipient or a passphrase the result is encrypted as well, as an age file. Only flags ask for that, never the \
                environment.\n\n\
                A directory as IN is a tree: each file in it becomes one below OUT, with .zst, .zst.age or .age behind its name; \
                directories and symbolic links are mirrored, other special files are skipped and named. Several names, or a list of \
                them, go with -o DIR. The journal OUT/.pipeline-journal tells the next run what is done: files that have not changed are \
                skipped, and a run that was stopped is started again with the same line. Outputs whose input is gone stay. A file \
                that fails is named at the end; the others go on, exit 3.",
        examples: &[
            Example { line: "pipeline process big.tar", does: "big.tar.zst beside it, on all cores" },
            Example {
                line: "pipeline process big.tar -r age1... -R team.txt --verify --rm",
                does: "encrypted, read back and compared; then big.tar goes",
            },
            Example {
                line: "pipeline process --stdin-from-command home.tar.zst -- tar -c /home",
                does: "what tar writes; if tar fails, so does this, and nothing is left",
            },
            Example {
                line: "pipeline process photos /mnt/backup/photos -R team.txt",
                does: "a whole tree, each file encrypted; run again, it does what has changed",
            },
        ],
    },
    Guide {
        command: "restore",
        about: "The format is detected from the first bytes: an age file, a zstd file, or one inside the other, by any writer. Frames are \
                decoded on all cores as far as the file has more than one.\n\n\
                Errors say where the file is damaged, exit 4, and OUT is as it was. A seek table that contradicts \
                the frames is such an error, unless --ignore-table. A cut exactly between two frames shows in a missing seek table only, which is a warning, and \
                an error with --require-table.\n\n\
                A directory as IN is a tree, and OUT becomes the one that it was made of: files, links, empty directories, modes and times; \
                not owners and extended attributes. A file that fails is named at the end; the others go on, exit 3.",
        examples: &[
            Example { line: "pipeline restore big.tar.zst", does: "big.tar back" },
            Example {
                line: "pipeline restore /mnt/backup/photos photos -i key.txt",
                does: "a whole tree back, through the encryption",
            },
            Example {
                line: "pipeline restore home.tar.zst - -q --require-table | tar -x",
                does: "into a pipe; a file that may be cut short is an error",
            },
            Example {
                line: "pipeline restore --salvage damaged.zst rescued",
                does: "what is intact; what is lost is told, range by range",
            },
        ],
    },
    Guide {
        command: "verify",
        about: "Every frame is decoded and its checksum compared, every segment of an age file authenticated, and the seek table held \
                against the frames. A zstd file without a valid table is refused, since a cut between frames would not show; --foreign \
                accepts it.\n\n\
                Of a directory every file is verified and held against the journal, where there is one: what was written, what it was \
                made of as far as that is known here, and which files are missing.",
        examples: &[
            Example { line: "pipeline verify big.tar.zst", does: "is it whole?" },
            Example {
                line: "pipeline verify big.tar.zst.age -i key.txt --against big.tar",
                does: "is it whole, and is it big.tar?",
            },
            Example { line: "pipeline verify --foreign old.zst", does: "a file that another tool wrote" },
            Example {
                line: "pipeline verify /mnt/backup/photos -i key.txt",
                does: "a tree: is every file whole, and is none missing?",
            },
        ],
    },
    Guide {
        command: "cat",
        about: "With a seek table only the frames that hold the range are decoded; without one the file is decoded from its start. Of an \
                age file the final segment is authenticated first, then what is needed.\n\n\
                A range is half-open: A..B is from byte A to the one before B. K, M, G, T are powers of 1024. An end behind the end \
                of the content is an error.",
        examples: &[
            Example { line: "pipeline cat log.zst", does: "all of it" },
            Example { line: "pipeline cat big.tar.zst --range 10G..+4K", does: "4 KiB from the middle" },
            Example {
                line: "pipeline cat log.zst.age -i key.txt --range 1M.. | grep ERROR",
                does: "from the second mebibyte on, through the encryption",
            },
        ],
    },
    Guide {
        command: "inspect",
        about: "Nothing is decoded. Of an encrypted file its recipients are told without a key, and what is inside with one.",
        examples: &[
            Example { line: "pipeline inspect big.tar.zst", does: "frames, sizes, ratio, seek table" },
            Example { line: "pipeline inspect big.tar.zst.age -i key.txt", does: "both layers" },
            Example { line: "pipeline inspect --json big.tar.zst", does: "the same for programs" },
        ],
    },
    Guide {
        command: "rekey",
        about: "The file key is wrapped anew for the recipients that are given, and for nobody else; the payload is authenticated on \
                the way and stays the same, byte for byte.\n\n\
                Anyone who could open the file before, and kept a copy or its key, still can.\n\n\
                A directory is rekeyed file by file, in place or to OUT. A run that was stopped is started again with the same line, and \
                does what is left.",
        examples: &[
            Example {
                line: "pipeline rekey old.age new.age -i key.txt -R new-recipients.txt",
                does: "a copy for other recipients",
            },
            Example {
                line: "pipeline rekey --in-place backup.zst.age -i key.txt -r age1...",
                does: "the file itself, replaced when its successor is whole",
            },
            Example { line: "pipeline rekey a.age b.age -i key.txt -p", does: "from a key to a passphrase" },
            Example {
                line: "pipeline rekey --in-place backup -i key.txt -R new-recipients.txt",
                does: "every file of a tree",
            },
        ],
    },
    Guide {
        command: "keygen",
        about: "The file it writes can be read by its owner alone. Anyone with it can open what was encrypted to its recipient; without \
                it nobody does, so keep a copy.",
        examples: &[
            Example { line: "pipeline keygen -o key.txt", does: "an identity; its recipient is shown" },
            Example { line: "pipeline keygen --pq -o key.txt", does: "a post-quantum one" },
            Example {
                line: "pipeline keygen -y key.txt > recipients.txt",
                does: "whom to encrypt to, so that key.txt opens it",
            },
            Example {
                line: "pipeline keygen | pipeline process - key.age -p -q --no-compress",
                does: "one that is itself encrypted with a passphrase",
            },
        ],
    },
    Guide {
        command: "config",
        about: "Settings come from flags, the environment, a profile, and the configuration file, in this order.",
        examples: &[
            Example { line: "pipeline config show", does: "every setting that is in force, with its source" },
            Example { line: "pipeline config show --profile debug", does: "as this profile has them" },
        ],
    },
    Guide {
        command: "config show",
        about: "What it prints is itself a configuration file.",
        examples: &[
            Example { line: "pipeline config show", does: "every setting that is in force, with its source" },
            Example { line: "pipeline config show --profile debug", does: "as this profile has them" },
            Example { line: "pipeline config show --no-config", does: "without the configuration file" },
        ],
    },
    Guide {
        command: "bench",
        about: "Every case runs once in each round, as processes of its own, so that what drifts meanwhile is spread over all. What is \
                told are medians over the rounds, with time and memory as the kernel counts them.",
        examples: &[
            Example { line: "pipeline bench big.tar", does: "everything, as a table" },
            Example { line: "pipeline bench big.tar --html page.html", does: "and as a page with plots" },
            Example {
                line: "pipeline bench big.tar -w 1,4 -L 1,3,9 --rounds 3 --no-peers",
                does: "our own settings side by side",
            },
        ],
    },
    Guide {
        command: "tune",
        about: "A sample from all over IN is processed in memory, one setting varied at a time, and nothing is written. Of what is about as \
                fast as the fastest, the least is taken: workers and depth that change nothing are better left to others. A larger \
                chunk is taken only where it makes the output smaller by a percent.",
        examples: &[
            Example { line: "pipeline tune big.tar", does: "the command line to use, and the figures behind it" },
            Example {
                line: "pipeline tune big.tar --at-least 100M",
                does: "with the highest level that keeps up with a line of 100 MiB/s",
            },
        ],
    },
    Guide {
        command: "completions",
        about: "The script goes to standard output; where it belongs is up to the shell. `make install` and the packages put it there.",
        examples: &[
            Example { line: "pipeline completions bash > pipeline.bash", does: "a file to source from .bashrc" },
            Example {
                line: "pipeline completions fish > ~/.config/fish/completions/pipeline.fish",
                does: "where fish looks",
            },
            Example { line: "pipeline completions zsh > _pipeline", does: "to be put into a directory of $fpath" },
        ],
    },
    Guide {
        command: "man",
        about: "The pages are pipeline.1 and pipeline-COMMAND.1. Nothing is written if one of them is there already, unless forced.",
        examples: &[
            Example { line: "pipeline man ~/.local/share/man/man1", does: "where man looks" },
            Example { line: "pipeline man --force pages", does: "again, over those of an older version" },
        ],
    },
];
