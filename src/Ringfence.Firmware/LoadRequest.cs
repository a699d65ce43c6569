namespace Ringfence.Firmware;

/// <summary>An initrd or multiboot module, and its argument string (multiboot and PVH hand it on; Linux has no place for it).</summary>
public sealed record GuestModule(GuestFile File, string Arguments = "");

/// <summary>A virtio-mmio transport to name in the DSDT: <paramref name="Length"/> bytes of registers at <paramref name="Address"/>
/// (below 4 GiB), interrupt <paramref name="Gsi"/> (edge-triggered when <paramref name="EdgeTriggered"/>).</summary>
public readonly record struct VirtioMmioDevice(uint Address, uint Length, uint Gsi, bool EdgeTriggered = false);

/// <summary>What to boot and what to tell it.</summary>
public sealed record LoadRequest
{
    public required GuestFile Kernel { get; init; }

    /// <summary><see cref="Kernel"/> is a BIOS image, and all that there is to load.</summary>
    public bool IsBios { get; init; }

    /// <summary>Linux sees the concatenation of all; multiboot and PVH guests see each.</summary>
    public IReadOnlyList<GuestModule> Modules { get; init; } = [];

    /// <summary>The kernel command line. Multiboot guests get the kernel's name and a space before it, as under QEMU and GRUB.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>vCPUs to list in the MADT, 1 to <see cref="BoardLayout.MaximumVcpus"/>.</summary>
    public int Vcpus { get; init; } = 1;

    /// <summary>There is a VGA in text mode: see <see cref="BoardLayout.TextColumns"/>.</summary>
    public bool TextScreen { get; init; }

    /// <summary>The memory map to hand on; null for <see cref="MemoryMap.Build"/> of the guest's memory.</summary>
    public IReadOnlyList<E820Entry>? MemoryMap { get; init; }

    public IReadOnlyList<VirtioMmioDevice> VirtioDevices { get; init; } = [];

    /// <summary>It has been loaded: what is on disk need not stay in memory.</summary>
    public void Release()
    {
        Kernel.Release();
        foreach (GuestModule module in Modules)
        {
            module.File.Release();
        }
    }
}
