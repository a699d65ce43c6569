// System.Threading has an ITimer of its own.
global using ITimer = Ringfence.Host.ITimer;
