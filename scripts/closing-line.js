import { relative } from 'node:path';

/**
 * Ends Jest's report with one plain line that programs can read: `N passed, N failed`, `, N skipped` may follow. Before it, a line
 * for each test that passed at its second attempt only.
 */
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
    const second = results.testResults.flatMap(({ testFilePath, testResults }) =>
      testResults
        .filter(({ status, invocations = 1 }) => status === 'passed' && invocations > 1)
        .map(
          ({ fullName }) =>
            `PASSED AT THE SECOND ATTEMPT ${relative(process.cwd(), testFilePath)}: ${fullName}`,
        ),
    );
    // Jest's own summary comes after this.
    process.once('exit', () => {
      for (const each of second) console.log(each);
      console.log(line);
    });
  }
}
