namespace Ringfence.Engine;

/// <summary>A machine that can tell which pages of its memory were written, by processors or devices. Only while no vCPU runs.</summary>
public interface IDirtyLog
{
    /// <summary>Begins with an empty log.</summary>
    void StartDirtyLog();

    /// <summary>The pages written since the start or since it was asked last, one bit each, for each of <see cref="Host.GuestMemory.Regions"/>: page n of a region is bit
    /// n % 64 of word n / 64. A page that was not written may be among them.</summary>
    /// <exception cref="InvalidOperationException">There is no log.</exception>
    IReadOnlyList<ulong[]> CollectDirtyPages();

    void StopDirtyLog();
}
