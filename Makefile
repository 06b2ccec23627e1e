# bulkjob. `make help` says what there is.

LUA ?= lua5.4
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
ZSH_COMPLETIONS ?= zsh/site-functions
OBJCOPY ?= objcopy
CFLAGS ?= -O2 -g
FUZZ_SECONDS ?= 20
# One more set of objects beside the plain one, with a sanitizer in each: asan, tsan or fuzz.
SAN ?=

# Asked for when used, not when this file is read: `make deps` may have to install them first.
LUA_CFLAGS ?= $(shell pkg-config --cflags $(LUA))
LUA_LIBS ?= $(shell pkg-config --libs $(LUA))
V ?= $(shell $(LUA) -e 'io.write((_VERSION:match "%d+%.%d+"))')
# It stands there and nowhere else; files that are written by make and have it, too, are held against it by tools/lint.
VERSION := $(shell sed -n 's/^ *_VERSION = "bulkjob \(.*\)",$$/\1/p' lua/bulkjob.lua)

WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wpedantic -Wstrict-prototypes -Wmissing-prototypes \
  -Wwrite-strings -Wcast-align -Wvla -Wformat=2 -Wundef
ifneq ($(filter true 1,$(CI) $(WERROR)),)
WARNINGS += -Werror
endif

HARDEN = -fstack-protector-strong -D_FORTIFY_SOURCE=2
LDHARDEN = -Wl,-z,relro,-z,now
UBSAN = undefined -fno-sanitize-recover=undefined
SANITIZE_asan = -fsanitize=address,$(UBSAN)
SANITIZE_tsan = -fsanitize=thread
SANITIZE_fuzz = -fsanitize=fuzzer-no-link,address,$(UBSAN)
SANITIZE = $(SANITIZE_$(SAN))
ifneq ($(SAN),)
CFLAGS = -O1 -g -fno-omit-frame-pointer
HARDEN =
endif
ifeq ($(SAN),fuzz)
override CC = clang
endif

ALL_CFLAGS = -std=c11 -DBULKJOB_VERSION=$(VERSION) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARNINGS) -fPIC -fvisibility=hidden $(HARDEN) $(CFLAGS) $(SANITIZE) $(CPPFLAGS)
LDLIBS = -lcurl -lcrypto -lz -lm -pthread

# Below the line: plain C, built once for all Lua versions, and without a way to find lua.h.
B = build/$(SAN:%=%-)
PLAIN = $(B)plain
PLAIN_OBJECTS = $(patsubst src/%.c,$(PLAIN)/%.o,$(filter-out src/l_%.c,$(wildcard src/*.c)))
# Above it: the binding.
BINDING = $(B)$(LUA)
BINDING_OBJECTS = $(patsubst src/%.c,$(BINDING)/%.o,$(wildcard src/l_*.c))
CORE = $(BINDING)/bulkjob/core.so
LIB = $(BINDING)/libbulkjob.a
# The interpreter that loads $(CORE).
HOST = $(if $(SAN),$(CURDIR)/$(BINDING)/lua,$(LUA))

OOM = $(BINDING)/oom
# A name server that hangs, for programs started with it in LD_PRELOAD.
HUNG_DNS = build/hung_dns.so
C_TESTS = $(patsubst spec/c/%.c,$(PLAIN)/%,$(wildcard spec/c/test_*.c))
FUZZERS = $(patsubst spec/c/%.c,$(PLAIN)/%,$(wildcard spec/c/fuzz_*.c))
# C programs that host $(LUA): the example, and those that open and close states, with the core linked in and loading it.
HOSTS = $(addprefix $(BINDING)/,example-host states states-shared)
C_FILES = $(wildcard src/*.[ch] spec/c/*.[ch] standalone/*.[ch] examples/*.[ch] bench/hosts/*.c bench/peers/*.c)
# SHELL:FILE, below share/
COMPLETIONS = bash:bash-completion/completions/bulkjob zsh:$(ZSH_COMPLETIONS)/_bulkjob \
  fish:fish/vendor_completions.d/bulkjob.fish
LUA_MODULES = $(shell cd lua && find . -name '*.lua')

# The command with Lua inside. By Debian's names for what is linked in; elsewhere say where they are.
STANDALONE = build/standalone
STANDALONE_LIBS ?= -Wl,-Bstatic $(shell pkg-config --libs lua5.4-cjson lua5.4) -Wl,-Bdynamic -ldl
STANDALONE_ARGPARSE ?=
STANDALONE_LICENSES ?= $(wildcard $(addprefix /usr/share/doc/,$(addsuffix /copyright,liblua5.4-dev lua-cjson-dev lua-argparse)))

all: $(CORE) ## build for $(LUA): lua5.4 lua5.3 lua5.2 lua5.1 luajit

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' Makefile

lib: $(LIB) ## build/$(LUA)/libbulkjob.a: the core for C programs that host Lua

deps: ## install the Debian packages that are missing
	@tools/deps

demo: ## the whole way of a job, against a local org
	@tools/deps demo
	@echo 'building for $(LUA)'
	@$(MAKE) --no-print-directory -s all
	@tools/run-lua $(BINDING) $(LUA) examples/demo.lua

example-host: all $(BINDING)/example-host ## examples/host.c, against a local org
	@tools/run-lua $(BINDING) $(LUA) examples/run_host.lua $(BINDING)/example-host examples/host.lua

example-love: ## a game in LÖVE that uploads its score board
	@examples/love/run

check: ## everything CI checks; ends with "N passed, N failed"
	@tools/deps
	@tools/check

check-all: ## the same, and the specs on every Lua
	@tools/deps all
	@tools/check all

# The nginx that spec/nginx_spec.lua starts has LuaJIT, whatever it is started from.
ready: all $(HOSTS) $(HUNG_DNS) $(if $(SAN),$(BINDING)/lua)
	@$(MAKE) --no-print-directory LUA=luajit SAN= all

test: ready ## busted with $(LUA); SPEC=file for one of them
	@tools/run-lua $(BINDING) $(HOST) "$$(command -v busted)" $(BUSTED_FLAGS) $(SPEC)

asan: ## the same with AddressSanitizer, LeakSanitizer and UBSan
	@$(MAKE) --no-print-directory SAN=asan test

tsan: ## the same with ThreadSanitizer
	@$(MAKE) --no-print-directory SAN=tsan test

c-test: ## unit tests of the plain C, with sanitizers
	@$(MAKE) --no-print-directory SAN=asan run-c-tests

fuzz: ## each fuzz target for FUZZ_SECONDS
	@$(MAKE) --no-print-directory SAN=fuzz run-fuzzers

oom: all ## every allocation of a job fails once, in Lua and in C
	@$(MAKE) --no-print-directory SAN=asan run-oom

check-peers: ## clients of others against the local org; needs the npm registry
	@tools/deps
	@tools/check-peers

check-page: ## the local org's page in a headless Chromium; needs the npm registry
	@tools/deps page
	@tools/check-page

check-unit: c-test test ## C unit tests and busted, the quick way

lint: ## style, grammar, versions, the line
	@tools/lint

format: ## rewrite the C by .clang-format
	clang-format -i $(C_FILES)

dist: ## build/bulkjob-VERSION.tar.gz: the sources of the last commit
	@tools/dist $(VERSION)

deb: dist ## build/deb/*.deb: Debian packages of the last commit
	@tools/deps deb
	@tools/deb $(VERSION)

rockspec: ## write the rockspecs anew from the tree
	lua5.4 tools/rockspec.lua $(VERSION) > bulkjob-$(VERSION)-1.rockspec
	lua5.4 tools/rockspec.lua $(VERSION) scm > bulkjob-scm-1.rockspec

standalone: ## build/standalone/bulkjob: the command as one program, with Lua 5.4 inside
	@tools/deps standalone
	@$(MAKE) --no-print-directory LUA=lua5.4 SAN= $(STANDALONE)/bulkjob $(STANDALONE)/LICENSES

manual: ## write the manual page anew from the parser of the command
	lua5.4 tools/manual.lua $(VERSION) > doc/bulkjob.1

reference: ## write the reference page anew from the annotations for editors
	lua5.4 tools/reference.lua > doc/reference.md

rock-check: ## are the rockspecs true, and does the rock work
	@tools/rock-check $(VERSION)

package-check: ## the program with Lua inside, make install for C programs, and the tarball
	@tools/package-check $(VERSION)

bench: all $(PLAIN)/calls $(PLAIN)/scanners $(BINDING)/made_rows.so ## how fast it is beside others: a table, build/bench.json and doc/bench.svg
	@$(MAKE) --no-print-directory LUA=luajit all
	@tools/run-lua $(BINDING) $(LUA) bench/speed.lua $(ONLY)

bench-large: all ## memory, and every byte of large transfers, loads and extracts
	@for script in $(filter-out bench/speed.lua bench/growth.lua,$(wildcard bench/*.lua)); do echo "== $$script"; tools/run-lua $(BINDING) $(LUA) $$script || exit 1; done

bench-growth: all ## how the cost grows with records and jobs
	@tools/run-lua $(BINDING) $(LUA) bench/growth.lua

bench-hosts: all $(HUNG_DNS) ## the same, of the programs that host Lua
	@tools/deps bench
	@for script in bench/hosts/*.lua; do echo "== $$script"; tools/run-lua $(BINDING) $(LUA) $$script || exit 1; done

install: install-module install-dev install-command install-sandbox ## with DESTDIR and PREFIX, for $(LUA); the command runs on it, too

install-module: all
	cd lua && for f in $(LUA_MODULES); do \
	  install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/lua/$(V)/$$f || exit 1; done
	install -D -m 755 $(CORE) $(DESTDIR)$(LIBDIR)/lua/$(V)/bulkjob/core.so

# For C programs; bulkjob.pc is that of the last Lua for which this was run.
install-dev: lib
	install -D -m 644 $(LIB) $(DESTDIR)$(LIBDIR)/lua/$(V)/bulkjob/libbulkjob.a
	install -D -m 644 src/bulkjob.h $(DESTDIR)$(PREFIX)/include/bulkjob.h
	mkdir -p $(DESTDIR)$(LIBDIR)/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|; s|@LUA@|$(LUA)|g; s|@V@|$(V)|g' \
	  tools/bulkjob.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/$(LUA)-bulkjob.pc
	cp $(DESTDIR)$(LIBDIR)/pkgconfig/$(LUA)-bulkjob.pc $(DESTDIR)$(LIBDIR)/pkgconfig/bulkjob.pc

install-command: all
	install -D -m 755 bin/bulkjob $(DESTDIR)$(PREFIX)/bin/bulkjob
	sed -i '1s/lua5.4/$(LUA)/' $(DESTDIR)$(PREFIX)/bin/bulkjob
	install -D -m 644 doc/bulkjob.1 $(DESTDIR)$(PREFIX)/share/man/man1/bulkjob.1
	for shell in $(COMPLETIONS); do \
	  file=$(DESTDIR)$(PREFIX)/share/$${shell#*:}; mkdir -p "$$(dirname $$file)" && \
	  tools/run-lua $(BINDING) $(LUA) bin/bulkjob completion $${shell%%:*} > $$file || exit 1; done

install-sandbox:
	mkdir -p $(DESTDIR)$(PREFIX)/share/bulkjob
	cp -r sandbox $(DESTDIR)$(PREFIX)/share/bulkjob/

uninstall: ## undo install
	rm -rf $(DESTDIR)$(PREFIX)/share/lua/$(V)/bulkjob $(DESTDIR)$(LIBDIR)/lua/$(V)/bulkjob
	rm -rf $(DESTDIR)$(PREFIX)/share/bulkjob
	rm -f $(DESTDIR)$(PREFIX)/share/lua/$(V)/bulkjob.lua $(DESTDIR)$(PREFIX)/include/bulkjob.h \
	  $(DESTDIR)$(PREFIX)/bin/bulkjob $(DESTDIR)$(PREFIX)/share/man/man1/bulkjob.1 \
	  $(addprefix $(DESTDIR)$(LIBDIR)/pkgconfig/,bulkjob.pc $(LUA)-bulkjob.pc) \
	  $(foreach c,$(COMPLETIONS),$(DESTDIR)$(PREFIX)/share/$(lastword $(subst :, ,$c)))

clean: ## remove build/
	rm -rf build

# Only the compiler's opinion, from the other compiler.
syntax:
	clang -fsyntax-only $(ALL_CFLAGS) $(LUA_CFLAGS) $(wildcard src/*.c)

run-c-tests: $(C_TESTS)
	@tools/run-c-tests $(C_TESTS)

run-fuzzers: $(FUZZERS)
	@tools/run-fuzzers $(FUZZ_SECONDS) $(FUZZERS)

oom-programs: $(OOM)/host $(OOM)/bulkjob/core.so

run-oom: oom-programs
	@tools/run-lua build/$(LUA) $(LUA) spec/oom/sweep.lua $(OOM)/host '$(CURDIR)/$(OOM)/?.so;;'

$(HUNG_DNS): spec/c/hung_dns.c
	@mkdir -p $(@D)
	$(CC) -shared -fPIC -std=c11 -D_GNU_SOURCE $(WARNINGS) -O1 -o $@ $<

$(OOM)/host: spec/c/oom_host.c | $(OOM)/bulkjob
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -rdynamic -o $@ $< $(LUA_LIBS)

# The same core, with its allocators asking the host first.
$(OOM)/bulkjob/core.so: $(PLAIN_OBJECTS) $(BINDING_OBJECTS) spec/c/oom_wrap.c | $(OOM)/bulkjob
	$(CC) -shared $(ALL_CFLAGS) $(foreach f,malloc calloc realloc strdup strndup,-Wl,--wrap=$f) -o $@ $^ $(LDLIBS)

$(CORE): $(PLAIN_OBJECTS) $(BINDING_OBJECTS) | $(BINDING)/bulkjob
	$(CC) -shared $(LDHARDEN) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LDLIBS)

# One object, in which a host sees one name only: none of ours can clash with its own.
$(BINDING)/libbulkjob.o: $(PLAIN_OBJECTS) $(BINDING_OBJECTS)
	$(LD) -r -o $@ $^
	$(OBJCOPY) --keep-global-symbol=luaopen_bulkjob_core $@

$(LIB): $(BINDING)/libbulkjob.o
	@rm -f $@
	$(AR) rcs $@ $^

$(STANDALONE)/modules.c: standalone/embed.lua $(addprefix lua/,$(LUA_MODULES:./%=%))
	@mkdir -p $(@D)
	lua5.4 standalone/embed.lua "$(STANDALONE_ARGPARSE)" $(wordlist 2,999,$^) > $@

$(STANDALONE)/bulkjob: standalone/main.c standalone/modules.h $(STANDALONE)/modules.c $(LIB)
	$(CC) $(LDHARDEN) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc -Istandalone -o $@ $(filter %.c %.a,$^) $(LDFLAGS) $(STANDALONE_LIBS) $(LDLIBS)

# What has to be given on with the program.
$(STANDALONE)/LICENSES: LICENSE $(STANDALONE_LICENSES)
	@mkdir -p $(@D)
	for file in $^; do echo "== $$file"; cat $$file; echo; done > $@

LINK_HOST = $(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -Isrc -MMD -MP -rdynamic -o $@ $< $(LDFLAGS)

$(BINDING)/example-host: examples/host.c $(LIB)
	$(LINK_HOST) -DBULKJOB_LUA='"$(CURDIR)/lua/?.lua"' $(LIB) $(LUA_LIBS) $(LDLIBS)

$(BINDING)/states: spec/c/states.c $(LIB)
	$(LINK_HOST) -DWITH_CORE $(LIB) $(LUA_LIBS) $(LDLIBS)

$(BINDING)/states-shared: spec/c/states.c $(BINDING)/flags
	$(LINK_HOST) $(LUA_LIBS) -pthread

$(PLAIN)/%.o: src/%.c $(PLAIN)/flags
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BINDING)/%.o: src/%.c $(BINDING)/flags
	$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) -MMD -MP -c -o $@ $<

# An archive, so that a test takes only what it names.
$(PLAIN)/plain.a: $(PLAIN_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(C_TESTS): $(PLAIN)/%: spec/c/%.c $(PLAIN)/plain.a
	$(CC) $(ALL_CFLAGS) -Isrc -MMD -MP -o $@ $< $(PLAIN)/plain.a $(LDFLAGS) $(LDLIBS)

$(FUZZERS): $(PLAIN)/%: spec/c/%.c $(PLAIN)/plain.a
	$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -Isrc -MMD -MP -o $@ $< $(PLAIN)/plain.a $(LDFLAGS) $(LDLIBS)

$(PLAIN)/probe: bench/hosts/probe.c $(PLAIN)/flags
	$(CC) $(ALL_CFLAGS) -o $@ $<

$(PLAIN)/calls: bench/peers/calls.c $(PLAIN)/flags
	$(CC) $(ALL_CFLAGS) -o $@ $< -lcurl

$(BINDING)/made_rows.so: bench/peers/made_rows.c $(BINDING)/flags
	$(CC) -shared $(ALL_CFLAGS) $(LUA_CFLAGS) -o $@ $<

$(PLAIN)/scanners: bench/peers/scanners.c $(PLAIN)/plain.a
	$(CC) $(ALL_CFLAGS) -Isrc -MMD -MP -o $@ $< $(PLAIN)/plain.a

# The stock interpreter with the sanitizer's runtime loaded first, taking the same arguments.
$(BINDING)/lua: tools/sanitized-lua $(BINDING)/sanitized.so
	sed 's|@LUA@|$(LUA)|; s|@ROOT@|$(CURDIR)|; s|@BUILD@|$(CURDIR)/$(BINDING)|; s|@RUNTIME@|$(shell $(CC) -print-file-name=lib$(SAN).so)|' $< > $@
	@chmod +x $@

$(BINDING)/sanitized.so: tools/sanitized.c | $(BINDING)/bulkjob
	$(CC) -shared -fPIC -O1 -o $@ $<

# Touched when the compiler, its flags or the list of sources change.
$(PLAIN)/flags: STAMP = $(CC) $(ALL_CFLAGS) $(PLAIN_OBJECTS)
$(BINDING)/flags: STAMP = $(CC) $(ALL_CFLAGS) $(LUA_CFLAGS) $(BINDING_OBJECTS)
$(PLAIN)/flags $(BINDING)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(STAMP)' | cmp -s - $@ || echo '$(STAMP)' > $@

$(BINDING)/bulkjob $(OOM)/bulkjob:
	@mkdir -p $@

-include $(wildcard $(PLAIN)/*.d $(BINDING)/*.d)

.PHONY: check-peers check-page all help lib deps demo example-host example-love check check-all ready oom-programs test asan tsan c-test fuzz oom check-unit lint format rockspec standalone manual reference rock-check package-check \
  bench bench-large bench-growth bench-hosts dist deb install install-module install-dev install-command install-sandbox uninstall clean syntax run-c-tests run-fuzzers run-oom FORCE
.DELETE_ON_ERROR:
