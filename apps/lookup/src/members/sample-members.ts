import { randomNumbers } from '@app/figures';
import type { NewMember } from './member.js';

/** Made-up members, the same ones each time, one after the other, so that they need not be in memory together. */
export function* sampleMembers(count: number): Generator<NewMember> {
  const random = randomNumbers(20_261);
  const pick = <T>(items: readonly T[]) => items[Math.floor(random() * items.length)] as T;
  for (let number = 1; number <= count; number++) {
    const [first, last] = [pick(firstNames), pick(lastNames)];
    const joined = 1996 + Math.floor(random() * 30);
    // The number keeps the addresses apart: there are fewer names than members.
    yield {
      name: `${first} ${last}`,
      email: `${first}.${last}.${number}@example.org`.toLowerCase(),
      city: pick(cities),
      born: joined - 6 - Math.floor(random() * 75),
      joined,
    };
  }
}

const firstNames = words(`
  Ada Aisha Alan Amara Anna Arjun Astrid Ben Camille Carlos Chen Clara Daniel Dina Edith Elif Emil Emma Fatima Felix
  Grace Hana Hugo Ida Imran Ines Ivan Jana Jonas Julia Kofi Lars Leila Lina Louis Lucia Maja Marco Maria Mei Mina Nadia
  Noah Olga Omar Oscar Paula Pedro Priya Rosa Ruth Samir Sofia Tariq Theo Tomas Vera Wanda Yara Yusuf`);

const lastNames = words(`
  Adeyemi Ahmed Almeida Andersson Bauer Becker Berg Bianchi Brown Chen Cohen Costa Diaz Dubois Eriksen Evans Fischer
  Garcia Green Haddad Hansen Hoffmann Ivanov Jansen Johnson Kaya Keller Khan Kim Kowalski Larsen Lefevre Lopez Martin
  Meyer Mills Moreau Mwangi Nakamura Nguyen Novak Okafor Olsen Park Patel Petrov Rossi Santos Schmidt Silva Singh Smith
  Suzuki Taylor Thomas Turner Vogel Walker Weber Wilson Wright Yilmaz Young Zhang`);

const cities = words(`
  Aarhus Bergen Bern Bilbao Bologna Bremen Brno Cardiff Cork Dresden Dundee Exeter Gdansk Ghent Graz Groningen Leeds
  Leipzig Lille Linz Lyon Malmo Nantes Nice Norwich Odense Oulu Padua Porto Siena Tartu Turku Utrecht Valencia York`);

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
