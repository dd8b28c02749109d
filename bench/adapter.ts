import { create } from 'webgpu';

/** What Dawn says of the adapter that TensorFlow.js will take. */
export interface AdapterFigures {
  vendor: string;
  architecture: string;
  device: string;
  description: string;
  /** A Vulkan made of software. */
  software: boolean;
  /** Bytes in one buffer that a kernel may use. */
  maxStorageBufferBindingSize: number;
}

// Asked in a process of its own, so that a driver that crashes or hangs takes nothing else along. Dawn crashes when the
// object is collected; it is in scope to the end.
const gpu = create([]);
const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
if (adapter) {
  const { vendor, architecture, device, description, isFallbackAdapter: software } = adapter.info;
  const { maxStorageBufferBindingSize } = adapter.limits;
  const figures: AdapterFigures = {
    vendor,
    architecture,
    device,
    description,
    software,
    maxStorageBufferBindingSize,
  };
  process.send?.(figures);
}
process.disconnect();
