import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** A certificate of this machine that nobody else has signed, as files. Needs `openssl`. */
export class SelfMadeCertificate {
  readonly key: string;
  readonly certificate: string;

  private constructor(private readonly folder: string) {
    this.key = join(folder, 'key.pem');
    this.certificate = join(folder, 'certificate.pem');
  }

  static async make(): Promise<SelfMadeCertificate> {
    const made = new SelfMadeCertificate(await mkdtemp(join(tmpdir(), 'certificate-')));
    const files = ['-keyout', made.key, '-out', made.certificate];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    const kind = ['-x509', '-newkey', 'rsa:2048', '-nodes'];
    await promisify(execFile)('openssl', ['req', ...kind, ...files, ...subject]);
    return made;
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}
