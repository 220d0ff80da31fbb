<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Payload;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;

/**
 * Signs payloads, so that nobody but this application decides what is unserialized here.
 *
 *     fervo-event/1 KEY-ID HMAC \n
 *     BODY
 *
 * HMAC: SHA-256 of the body, in hex. KEY-ID: the first 8 hex digits of the key's SHA-256, so that keys can be rotated.
 * Messenger's messages begin with "fervo-message/1 ", and have a key of their own: one kind cannot be given out for the other.
 *
 * @internal
 */
final class Signer
{
    public const EVENT = 'fervo-event/1 ';
    public const MESSAGE = 'fervo-message/1 ';

    /** Makes the key one that nothing else derives from the same secret. Changing it invalidates all signatures. */
    private const CONTEXTS = [
        self::EVENT => 'fervo/deferred-event-bundle payload signature 1',
        self::MESSAGE => 'fervo/deferred-event-bundle message signature 1',
    ];

    private readonly string $key;

    /**
     * @param list<string>              $previousSecrets what may have signed payloads that are still in the queue
     * @param self::EVENT|self::MESSAGE $prefix          of the kind of payload
     */
    public function __construct(
        #[\SensitiveParameter] string $secret,
        #[\SensitiveParameter] private readonly array $previousSecrets = [],
        private readonly string $prefix = self::EVENT,
    ) {
        $this->key = $this->derive($secret);
    }

    /** Whether it says that it is one of Messenger's; it need not be signed. */
    public static function isMessage(string $payload): bool
    {
        return str_starts_with($payload, self::MESSAGE);
    }

    public function sign(string $body): string
    {
        return $this->prefix.self::idOf($this->key).' '.hash_hmac('sha256', $body, $this->key)."\n".$body;
    }

    /**
     * The body of a payload that one of our keys has signed.
     *
     * @throws InvalidSignatureException
     * @throws NotDeployedException      when the key is not ours
     */
    public function verify(string $payload): string
    {
        if (1 !== preg_match('#\A'.$this->prefix.'([0-9a-f]{8}) ([0-9a-f]{64})\n#', $payload, $match)) {
            throw new InvalidSignatureException(sprintf('The payload of %d bytes has no signature: it does not begin with "%s", a key\'s id and an HMAC.', \strlen($payload), trim($this->prefix)));
        }
        [$line, $id, $hmac] = $match;
        $body = substr($payload, \strlen($line));
        if (!hash_equals(hash_hmac('sha256', $body, $this->keyOf($id)), $hmac)) {
            throw new InvalidSignatureException(sprintf('The payload\'s signature is wrong: its %d bytes are not those that were signed with the key "%s".', \strlen($payload), $id));
        }

        return $body;
    }

    private function keyOf(string $id): string
    {
        if (self::idOf($this->key) === $id) {
            return $this->key;
        }
        foreach ($this->previousSecrets as $secret) {
            $key = $this->derive($secret);
            if (self::idOf($key) === $id) {
                return $key;
            }
        }

        throw new NotDeployedException(sprintf('The payload was signed with another key, "%s": is the secret here the same as where it was deferred? After a change of the secret, add the old one to "fervo_deferred_event.signing.previous_secrets".', $id));
    }

    private function derive(#[\SensitiveParameter] string $secret): string
    {
        if ('' === $secret) {
            throw new \LogicException('The secret that signs deferred events is empty: set APP_SECRET ("framework.secret"), or "fervo_deferred_event.signing.secret".');
        }

        return hash_hkdf('sha256', $secret, 32, self::CONTEXTS[$this->prefix]);
    }

    private static function idOf(#[\SensitiveParameter] string $key): string
    {
        return substr(hash('sha256', $key), 0, 8);
    }
}
