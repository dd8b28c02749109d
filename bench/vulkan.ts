import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/**
 * How Dawn may find a GPU on a machine that is not set up for it: with the shared libraries of the bundle where the
 * machine has none, and with the description of NVIDIA's Vulkan driver, where the driver is there and its description is not
 * where Vulkan's loader looks.
 */

export interface VulkanEnvironment {
  /** In words. */
  driver: string;
  env: Record<string, string | undefined>;
}

/** The driver's own library: with X11 first, as its own description has it; then the one that needs no X11. */
const driverLibraries = ['libGLX_nvidia.so.0', 'libEGL_nvidia.so.0'];

const driverFolders = [
  '/usr/local/nvidia/lib64',
  '/usr/local/nvidia/lib',
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu/nvidia/current',
  '/usr/lib64',
  '/usr/lib64/nvidia',
  '/usr/lib/nvidia',
  '/run/opengl-driver/lib',
];

const descriptionFolders = [
  '/usr/local/nvidia/share/vulkan/icd.d',
  '/usr/local/nvidia/vulkan/icd.d',
  '/etc/vulkan/icd.d',
  '/usr/share/vulkan/icd.d',
  '/usr/local/share/vulkan/icd.d',
  join(homedir(), '.local/share/vulkan/icd.d'),
  '/run/opengl-driver/share/vulkan/icd.d',
];

/** The environments to try, in their order. `libraries` has the bundle's shared libraries; `scratch` is for what they need. */
export function vulkanEnvironments(libraries: string, dawn: string, scratch: string): VulkanEnvironment[] {
  const lent = join(scratch, 'lib');
  const missing = missingLibraries(libraries, dawn);
  mkdirSync(lent, { recursive: true });
  for (const name of missing) symlinkSync(join(libraries, name), join(lent, name));
  if (missing.length > 0) console.log(`from the bundle, as this machine has none: ${missing.join(', ')}`);

  /** As the dynamic loader finds them, or else with their folders. */
  const drivers = driverLibraries.flatMap((name) => {
    if (!isMissing(name)) return [name];
    const folder = driverFolders.find((folder) => existsSync(join(folder, name)));
    return folder === undefined ? [] : [join(folder, name)];
  });
  // The driver opens more of its libraries by their names.
  const folders = new Set(drivers.filter((driver) => driver.includes('/')).map((driver) => dirname(driver)));
  const paths = [process.env.LD_LIBRARY_PATH, ...folders, ...(missing.length > 0 ? [lent] : [])];
  const env = {
    LD_LIBRARY_PATH: paths.filter((path) => path !== undefined && path !== '').join(':') || undefined,
    // Without this folder Mesa's drivers refuse to start.
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? scratch,
  };
  const withDriver = (description: string) => ({
    ...env,
    VK_DRIVER_FILES: description,
    // The same for loaders from before 1.3.207.
    VK_ICD_FILENAMES: description,
  });
  return [
    { driver: 'as the machine is set up', env },
    ...descriptionFolders.flatMap(nvidiaDescriptions).map((description) => ({
      driver: `described by ${description}`,
      env: withDriver(description),
    })),
    ...drivers.map((driver) => {
      const description = join(scratch, `${basename(driver)}.json`);
      const ICD = { library_path: driver, api_version: '1.3.0' };
      writeFileSync(description, JSON.stringify({ file_format_version: '1.0.0', ICD }));
      return { driver, env: withDriver(description) };
    }),
  ];
}

/** The bundle's libraries that the machine lacks, or has in a version that is too old for Dawn. */
function missingLibraries(libraries: string, dawn: string): string[] {
  const missing = existsSync(libraries) ? readdirSync(libraries).filter(isMissing) : [];
  const problem = problemOf(dawn) ?? '';
  if (/version `GLIBC_[\d.]+' not found/.test(problem)) {
    throw new Error(`Dawn needs glibc 2.34 or later (Ubuntu 22.04, Debian 12, RHEL 9): ${problem}`);
  }
  if (/version `(GLIBCXX|CXXABI)_[\d.]+' not found/.test(problem))
    missing.push('libstdc++.so.6', 'libgcc_s.so.1');
  return [...new Set(missing)];
}

function isMissing(name: string): boolean {
  return problemOf(name)?.startsWith(`${name}: cannot open shared object file`) ?? false;
}

/** What the dynamic loader says of a library; asked in a process of its own, as loading one runs its code. */
function problemOf(library: string): string | undefined {
  const open =
    'try { process.dlopen({ exports: {} }, process.argv[1]) } catch ({ message }) { console.log(message) }';
  const { stdout } = spawnSync(process.execPath, ['--eval', open, library], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  // Node's own, of what is no addon but could be opened.
  return stdout === '' || stdout.startsWith('Module did not self-register') ? undefined : stdout.trim();
}

function nvidiaDescriptions(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /nvidia.*\.json$/.test(name))
    .map((name) => join(folder, name));
}
