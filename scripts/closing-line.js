/** Ends Jest's report with one plain line that programs can read: `N passed, N failed`, `, N skipped` may follow. */
export default class ClosingLine {
  /**
   * A suite that could not be loaded has no failed test, and has failed all the same.
   *
   * @param {unknown} _contexts
   * @param {import('@jest/reporters').AggregatedResult} results
   */
  onRunComplete(_contexts, results) {
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, numRuntimeErrorTestSuites } =
      results;
    const skipped = numPendingTests + numTodoTests;
    const more = skipped > 0 ? `, ${skipped} skipped` : '';
    const line = `${numPassedTests} passed, ${numFailedTests + numRuntimeErrorTestSuites} failed${more}`;
    // Jest's own summary comes after this.
    process.once('exit', () => {
      console.log(line);
    });
  }
}
