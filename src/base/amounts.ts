const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"] as const;

/** Bytes for people, in decimal units as podman prints them: `512 B`, `1.24 GB`, `960.1 MB`. At most 8 characters. */
export function formatBytes(bytes: number): string {
  if (bytes < 0) return `-${formatBytes(-bytes)}`;
  let amount = bytes;
  let unit = 0;
  // 999.95 would round to "1000.0"
  while (amount >= (unit === 0 ? 1000 : 999.95) && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  const decimals = unit === 0 ? 0 : amount < 9.995 ? 2 : 1;
  return `${amount.toFixed(decimals)} ${units[unit]}`;
}

/** `12.3 MB/s` */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(Math.round(bytesPerSecond))}/s`;
}

/** How long something took: `0.4 s`, `42 s`, `3 min 05 s`, `2 h 03 min`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 9950) return `${(Math.max(0, milliseconds) / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${twoDigits(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${twoDigits(minutes % 60)} min`;
}

/** How long something will take, in little room: `8s`, `2m03s`, `1h02m`, `>99h`. At most 6 characters. */
export function formatCountdown(seconds: number): string {
  const whole = Math.ceil(Math.max(0, seconds));
  if (whole < 60) return `${whole}s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}m${twoDigits(whole % 60)}s`;
  const hours = Math.floor(minutes / 60);
  return hours < 100 ? `${hours}h${twoDigits(minutes % 60)}m` : ">99h";
}

/** `1 layer`, `3 layers` */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}
