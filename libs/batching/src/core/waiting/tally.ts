/**
 * Counts by key; adds to a count, and sums the counts from a key upwards, in O(log n) for n keys. A search
 * tree whose nodes hold the sum of their branch, balanced at random (a treap): each node has a random rank,
 * and is above those of lower rank.
 */
export class Tally {
  #root: Node | undefined;

  /** Adds to the count of a key; a key whose count becomes 0 is removed. */
  add(key: number, count: number): void {
    this.#root = add(this.#root, key, count);
  }

  /** Sum of the counts of `key` and all greater keys. */
  atLeast(key: number): number {
    let sum = 0;
    let node = this.#root;
    while (node) {
      if (node.key < key) {
        node = node.right;
      } else {
        sum += node.count + (node.right?.sum ?? 0);
        node = node.left;
      }
    }
    return sum;
  }
}

class Node {
  readonly rank = Math.random();
  sum: number;
  left: Node | undefined;
  right: Node | undefined;

  constructor(
    readonly key: number,
    public count: number,
  ) {
    this.sum = count;
  }
}

/** @returns the root that replaces `node` */
function add(node: Node | undefined, key: number, count: number): Node | undefined {
  if (!node) return new Node(key, count);
  if (key === node.key) {
    node.count += count;
    return node.count === 0 ? join(node.left, node.right) : summed(node);
  }
  if (key < node.key) {
    const left = (node.left = add(node.left, key, count));
    if (!left || left.rank <= node.rank) return summed(node);
    node.left = left.right;
    left.right = summed(node);
    return summed(left);
  }
  const right = (node.right = add(node.right, key, count));
  if (!right || right.rank <= node.rank) return summed(node);
  node.right = right.left;
  right.left = summed(node);
  return summed(right);
}

/** Joins two trees; all keys of the left one are less than those of the right one. */
function join(left: Node | undefined, right: Node | undefined): Node | undefined {
  if (!left || !right) return left ?? right;
  if (left.rank > right.rank) {
    left.right = join(left.right, right);
    return summed(left);
  }
  right.left = join(left, right.left);
  return summed(right);
}

function summed(node: Node): Node {
  node.sum = node.count + (node.left?.sum ?? 0) + (node.right?.sum ?? 0);
  return node;
}
