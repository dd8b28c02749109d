import helmet, { type HelmetOptions } from 'helmet';

type Directives = Exclude<HelmetOptions['contentSecurityPolicy'], boolean | undefined>['directives'];

/** Headers for pages that load nothing from elsewhere. @param directives what this application's pages need beyond that */
export function securityHeaders(directives: Directives) {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        ...directives,
        objectSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    },
    // Whether there is HTTPS at all is known to the proxy that ends it in front of this server.
    strictTransportSecurity: false,
  });
}
