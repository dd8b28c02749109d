/** A style sheet, as text, of which the build makes a module. */
declare module '*.css' {
  const text: string;
  export default text;
}
