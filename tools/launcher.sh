#!/bin/sh
# bin/onehold: starts Onehold's bundle with a Node.js that is new enough. No other program is started on
# the usual way, as each would cost as much as the rest of this script.

self=$0
case $self in */*) ;; *) self=$(command -v -- "$self") ;; esac
if [ -L "$self" ] || [ -L "${self%/*}" ]; then self=$(readlink -f -- "$self"); fi
root=${self%/*}/..

if [ -n "${ONEHOLD_NODE-}" ]; then
  node=$ONEHOLD_NODE
elif [ -x "$root/node_modules/.bin/node" ]; then
  node=$root/node_modules/.bin/node
else
  node=node
fi

if ! command -v -- "$node" >/dev/null; then
  echo "error: no Node.js: there is no program $node" >&2
  echo "hint: set ONEHOLD_NODE to the path of Node.js 26.10 or newer" >&2
  exit 1
fi
# MiB for new objects, half of Node's own choice: an import of many files makes few that die young, and takes 40 MB less.
exec "$node" --max-semi-space-size=8 "$root/dist/onehold.mjs" "$@"
