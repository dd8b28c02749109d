#!/bin/sh
# Golden cases and benchmarks of nest-batching on this machine's GPU: sh run.sh [--quick]
#
# Needs Linux on x86-64 with glibc 2.34 or later and the GPU's driver; no network, no Node, nothing installed. Writes
# results.json and results.md into the current folder, and ends within ten minutes; --quick measures for moments only. A
# TensorFlow that was linked to @tensorflow/tfjs-node-gpu takes part where NODE_PATH names its node_modules.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
unset NODE_OPTIONS

if ! "$here/node" --version >/dev/null 2>&1; then
  # Perhaps without a C++ library, which is in the bundle.
  LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib"
  export LD_LIBRARY_PATH
  "$here/node" --version >/dev/null || {
    echo "The bundle's Node does not start here: it needs Linux on x86-64 with glibc 2.34 or later" >&2
    exit 1
  }
fi
exec "$here/node" "$here/bench/gpu.js" "$@"
